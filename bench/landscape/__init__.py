"""Why a checkpoint is robust: curvature of its loss, and what else its weights and activations show."""
