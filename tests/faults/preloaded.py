"""The slow imports, made once by the process from which the runs of these tests are forked."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
import wandb

from twogrpo.training import assemble, loop

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
assert assemble and loop and wandb  # used by nothing here
