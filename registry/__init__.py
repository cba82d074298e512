"""The registry: data sets and models, their files, who may read them and for what purpose, and where they came from."""
