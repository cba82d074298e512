"""Notices to the organisation about access to data: effects that start after the commit."""
