"""The card of a model version: what a reuser must know before relying on it, and the data that they must bring."""
