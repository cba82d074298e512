"""Who did what to which resource, when, why and under which grant: written in the transaction of the act itself."""
