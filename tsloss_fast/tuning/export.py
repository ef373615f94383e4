"""A tuned prompt for others to load: as a PEFT prompt-tuning adapter."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import indent

from tsloss_fast.prompt.saved import is_adapter, write_adapter
from tsloss_fast.tuning.checkpoints import RunError, RunFolder
from tsloss_fast.tuning.config import TuneConfig
from tsloss_fast.tuning.finished import FinishedRun
from tsloss_fast.tuning.models import DEFAULT_MODEL

README_FILE = "README.md"

CHAT = """\
messages = [{"role": "user", "content": "your question"}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
"""
PLAIN = """\
inputs = tokenizer("Question: your question\\nAnswer:", return_tensors="pt")
"""
# By the run's template, Python that puts a question.
PUT = {
    "chat": CHAT,
    "plain": PLAIN,
    "auto": f"if tokenizer.chat_template:\n{indent(CHAT, '    ')}else:\n{indent(PLAIN, '    ')}",
}


def export_peft(run: FinishedRun, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write a PEFT adapter that ``PeftModel.from_pretrained(model, out)`` loads.

    Parameters
    ----------
    run : FinishedRun
    out : str or Path
        The adapter's folder, made with its parents.
    overwrite : bool, default False
        Replace an adapter that lies there.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    RunError
        If the folder holds an adapter already, or cannot be written to.
    """
    folder = RunFolder(out)
    if is_adapter(folder.path) and not overwrite:
        raise RunError(f"out: {folder.path} holds an adapter already; --overwrite replaces it")
    folder.prepare()
    config = run.config
    write_adapter(
        folder.path,
        run.prompt,
        base_model=config.model,
        metadata={"template": config.template},
        files={README_FILE: _readme(config).encode()},
    )
    return folder.path


def _readme(config: TuneConfig) -> str:
    """How a question is put to the model with this prompt."""
    return f"""---
base_model: {json.dumps(config.model)}
library_name: peft
---
# A soft prompt of {config.n_tokens} rows for `{config.model}`

Tuned by tsloss_fast with `--template {config.template}`. Put questions as in training:

```python
from peft import PeftModel
{_loading(config.model)}
model = PeftModel.from_pretrained(model, ".").eval()  # this folder

{PUT[config.template].rstrip()}
# Tokenizers may give more, which models do not take.
inputs = {{name: inputs[name] for name in ("input_ids", "attention_mask")}}
# With a cache PEFT decodes otherwise than the model's forward passes with this prompt.
new = model.generate(**inputs, max_new_tokens=128, do_sample=False, use_cache=False)
answer = tokenizer.decode(new[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
```
"""


def _loading(name: str) -> str:
    """Python that loads the model and its tokenizer."""
    quoted = json.dumps(name)
    if name == DEFAULT_MODEL or name.endswith(".gguf"):
        return f"""from tsloss_fast.tuning.models import find_model, load_model, load_tokenizer

source = find_model({quoted})
tokenizer, model = load_tokenizer(source), load_model(source)"""
    return f"""from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({quoted})
model = AutoModelForCausalLM.from_pretrained({quoted}, dtype="auto")"""
