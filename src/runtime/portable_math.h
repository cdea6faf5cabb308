// exp and log in float64 with the same bits on every machine.
//
// The C library's own differ between systems in the last bit, which is enough
// to turn a sampled token into another once in a long while. These use nothing
// but +, -, *, / and exponent arithmetic, which IEEE 754 fixes (this project
// is compiled without contraction of multiply-adds). Relative error below
// 1e-15, absolute for logarithms near 0. Pure functions.
#pragma once

namespace lcsm {

// Below about -708 gives 0; above 709 gives infinity; NaN gives NaN.
double PortableExp(double x);

// For finite x > 0.
double PortableLog(double x);

}  // namespace lcsm
