"""Who may read which bytes, for what purpose and until when: requests, decisions and grants."""
