"""A tuned prompt for others to load: as a PEFT prompt-tuning adapter."""

from __future__ import annotations

import json
from pathlib import Path

from tsloss_fast._files import write_together
from tsloss_fast.tuning.checkpoints import RunError, RunFolder
from tsloss_fast.tuning.finished import FinishedRun

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


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
    from safetensors.torch import save

    folder = RunFolder(out)
    if (folder.path / CONFIG_FILE).exists() and not overwrite:
        raise RunError(f"out: {folder.path} holds an adapter already; --overwrite replaces it")
    folder.prepare()
    rows, width = run.prompt.shape
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": run.config.model,
        "inference_mode": True,
        "num_virtual_tokens": rows,
        "token_dim": width,
        "num_transformer_submodules": 1,
        # The rows are loaded over it.
        "prompt_tuning_init": "RANDOM",
    }
    weights = save({"prompt_embeddings": run.prompt.contiguous()}, metadata={"format": "pt"})
    text = json.dumps(config, indent=2) + "\n"
    write_together(folder.path, {WEIGHTS_FILE: weights, CONFIG_FILE: text.encode()})
    return folder.path
