// What libtorch's c10d/ProcessGroupGloo.hpp includes of Gloo, which libtorch is built with, but
// whose headers it does not ship. Only pointers to these classes cross into this program.
#pragma once
