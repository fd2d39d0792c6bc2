"""Behind the doors: money that moves, prompts that ring, callbacks that are posted, and the memory of it all."""
