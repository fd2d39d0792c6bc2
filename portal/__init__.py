"""Mlango: a portal that opens when an M-Pesa payment lands. (package docstring to come)"""
