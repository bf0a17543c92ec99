"""Search, sweep and fixed rates side by side: what each costs, what it reaches, and how surely.

``sources`` opens run folders and ``alike`` refuses those that do not belong together; ``methods``
reads what they hold into one table, a row for every trial. ``outcomes`` says what
each method came to with each seed, ``costs`` how much had been spent when a score was first
reached, ``noise`` whether a difference is more than chance; ``tables`` and ``markdown`` show it.
Only files are read; nothing here trains or imports torch.
"""
