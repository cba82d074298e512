"""Python client of Guildhall: `guildhall_client.client.Client`, and `guildhall_client.async_client.AsyncClient`."""
