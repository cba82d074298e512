"""Changing who belongs and who may: teams, people, service accounts, roles and tokens, each change in the audit record.

The tables and the decisions are below, in guildhall/auth; what changes them also records, so it stands above audit.
"""
