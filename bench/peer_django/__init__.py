"""A Django project with nothing but mainfinity-django-mpesa in it: what `bench.peer` measures us against.

Only ever imported by the virtual environment that `bench.peer` makes for it; nothing here is part of the product.
"""
