"""What people see and type: command line, display, notebooks."""
