"""Files through server and client, beside a bare copy that hashes what it copies."""
