"""The scheduler in GraphQL: clusters, pools, quotes and jobs."""
