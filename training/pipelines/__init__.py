"""Ways from a training set to a model, one module each."""
