"""Spreadsheets of plans: files become grids of cells, grids become plans, plans go to RE Manager.

Files are read in a process of their own, with a time and a memory limit (`isolation`, `worker`): whatever is in
them, the server itself only ever sees the JSON that comes out.
"""
