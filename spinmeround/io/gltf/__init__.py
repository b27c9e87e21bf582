"""Binary glTF 2.0 and VRM 1.0."""
