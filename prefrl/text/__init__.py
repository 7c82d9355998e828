"""Language models: preferences between continuations, and policies that learn from them."""
