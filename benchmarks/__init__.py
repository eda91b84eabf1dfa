"""How fast is it here: workloads W1 to W5 against real processes, the machine's ceiling beside them."""
