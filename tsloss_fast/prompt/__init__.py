"""Tuned prompts in front of a frozen language model, and what watches them.

`peft` puts TSLoss into PEFT's models; it alone needs a library beyond torch.
"""

from tsloss_fast.prompt.prompt_tuned_lm import IGNORED_LABEL, PromptTunedLM
from tsloss_fast.prompt.soft_prompt import INITS, SoftPrompt

__all__ = ["IGNORED_LABEL", "INITS", "PromptTunedLM", "SoftPrompt"]
