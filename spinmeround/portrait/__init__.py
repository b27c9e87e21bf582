"""Photo to Portrait: landmarks, matte, crop."""
