"""Where candidates come from: iterators of terms with their cost. A new learner is a file of this folder, and nothing else."""
