"""Networks as fixed-point circuits: exact maths, Verilog, place-and-route."""
