"""What child processes run; it imports nothing, so that they begin soon."""


def round_trip(fs, name):
    parent = fs.cat(["runs/r1/x.txt"])["runs/r1/x.txt"]
    fs.pipe_file(name, b"child")
    return parent, fs.cat([name])[name]


def found_in(fs, view):
    return fs.find(view), list(fs._views._shown)
