"""Many SpeculativeModels through one operator: until their objects are there, and what keeping them costs."""
