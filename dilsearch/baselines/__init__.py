"""The manual baseline: fields of view tried one after the other, or plans proposed by Optuna.

``manual`` makes the schedules that a person would write for a field, ``shares`` describes any
integer plan by numbers from 0 to 1 that a sampler can propose, ``protocols`` says which trials
there are, and ``worker`` runs them, beside any number of others on one ``storage``. Nothing here
trains: what trains a plan is given to the worker.
"""
