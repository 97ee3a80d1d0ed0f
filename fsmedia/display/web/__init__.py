"""A store over HTTP: `media_app` for a program's own users, and `Browser` for one person on this machine.

The only package that imports Starlette and uvicorn; it is loaded when one of the two is asked for.
"""
