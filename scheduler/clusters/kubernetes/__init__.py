"""Jobs on Kubernetes: the one place that knows the library and the API server's ways."""
