"""Prompts on a phone (STK push, M-PESA Express): asked for, sent, asked about, ended. States and moves are data."""
