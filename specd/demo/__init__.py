"""``specd demo``: a sandbox home, real small models, a stand-in server, the real daemon."""
