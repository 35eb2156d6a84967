"""What is run: data sets, batches, models, losses, optimizers, schedules, recipes."""
