"""The work behind payments: callbacks settled, prompts sent, M-Pesa asked. It stands above the other rooms of money."""
