"""Telling people: e-mail by SMTP, text messages by Africa's Talking, notices inside the product. Each told once."""
