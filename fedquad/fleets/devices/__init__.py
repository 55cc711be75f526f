"""Boards, one file each: `BOARD = Board(...)`, found by module name (jetson_tx2.py is jetson-tx2).

A new board is a new file; `fedquad fleet show` lists it, and a contract test checks it on arrival.
"""
