"""hotspot"""
