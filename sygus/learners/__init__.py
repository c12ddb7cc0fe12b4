"""Where candidates come from: iterators of terms with their cost."""
