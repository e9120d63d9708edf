"""Many SpeculativeModels through one operator: how long until their objects are there, and what it costs to keep them."""
