"""How an edit is made: SCEN, LEMoE, and both as published."""
