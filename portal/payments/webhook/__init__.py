"""The general webhook: another system's word, held apart until somebody who knows agrees."""
