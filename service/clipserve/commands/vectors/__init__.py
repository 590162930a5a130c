"""The items to embed, and what makes and exports an index of their vectors."""
