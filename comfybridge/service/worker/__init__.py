"""One ComfyUI server's worker: takes jobs from the queue, runs them there, keeps what they made."""
