"""The controlled list of purposes for which data may be used."""
