"""Who a pseudonym is: encrypted by the application, apart from everything else (docs/identity.md)."""
