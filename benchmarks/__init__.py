"""How fast is it here: workloads against real processes, the machine's ceiling beside them."""
