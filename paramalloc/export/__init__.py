"""Ways out of the results folder: a trial's weights with their tokenizer, and as a Hugging Face model folder.

Always holds: what is written does what the trained model does; nothing here needs `transformers`. `load_trained`
reads a trial, `write_folder` writes the model folder; `python -m paramalloc export TRIAL_DIR` does both.
"""
