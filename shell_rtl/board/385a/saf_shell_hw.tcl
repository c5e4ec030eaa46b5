# Platform Designer component of the SAF shell for Arria 10; ports as in saf_shell_385a.sv.
package require -exact qsys 18.1

set_module_property NAME saf_shell_385a
set_module_property VERSION 1.0
set_module_property DISPLAY_NAME {SAF stand-alone shell (Arria 10, 385A)}
set_module_property DESCRIPTION {FPGA card on Ethernet without a host: discovery, broadcast reconfiguration, DDR transfer, kernel commands}
set_module_property GROUP {SAF}
set_module_property EDITABLE false

add_fileset quartus_synth QUARTUS_SYNTH add_files saf_shell_385a
set_fileset_property quartus_synth TOP_LEVEL saf_shell_385a

proc add_files {name} {
  set here [get_module_property MODULE_DIRECTORY]
  set rtl [file join $here .. .. rtl]
  foreach file {saf_pkg.sv saf_shell_pkg.sv} { add_fileset_file $file SYSTEM_VERILOG PATH [file join $rtl $file] }
  add_fileset_file saf_assert.svh OTHER PATH [file join $rtl saf_assert.svh]
  foreach path [lsort [glob -directory $rtl saf_*.sv]] {
    set file [file tail $path]
    if {[string match *_pkg.sv $file]} { continue }
    add_fileset_file $file SYSTEM_VERILOG PATH $path
  }
  foreach file {saf_385a_cfg.sv saf_385a_entropy.sv saf_385a_role_bridge.sv saf_shell_385a.sv} {
    add_fileset_file $file SYSTEM_VERILOG PATH [file join $here $file]
  }
  add_fileset_file saf_cdc.sdc SDC_ENTITY PATH [file join $here saf_cdc.sdc] {NO_SDC_PROMOTION}
}

add_parameter Serial STD_LOGIC_VECTOR 0
set_parameter_property Serial WIDTH 128
add_parameter Mac0 STD_LOGIC_VECTOR 0x025341460001
set_parameter_property Mac0 WIDTH 48
add_parameter Mac1 STD_LOGIC_VECTOR 0x025341470001
set_parameter_property Mac1 WIDTH 48
add_parameter Key STD_LOGIC_VECTOR 0
set_parameter_property Key WIDTH 256
add_parameter KeyValid INTEGER 0
set_parameter_property KeyValid ALLOWED_RANGES 0:1
add_parameter Mtu INTEGER 9000
set_parameter_property Mtu ALLOWED_RANGES 1500:9000
add_parameter Hold INTEGER 0
set_parameter_property Hold ALLOWED_RANGES 0:1
foreach name {Serial Mac0 Mac1 Key KeyValid Mtu Hold} { set_parameter_property $name HDL_PARAMETER true }

add_interface mac_clk clock end
add_interface_port mac_clk mac_clk clk Input 1

add_interface emif_clk clock end
add_interface_port emif_clk emif_clk clk Input 1

add_interface pr_clk clock end
add_interface_port pr_clk pr_clk clk Input 1

add_interface kernel_clk clock end
add_interface_port kernel_clk kernel_clk clk Input 1

add_interface reset reset end
set_interface_property reset synchronousEdges NONE
add_interface_port reset reset_n reset_n Input 1

add_interface cfg avalon end
set_interface_property cfg associatedClock mac_clk
set_interface_property cfg associatedReset reset
set_interface_property cfg addressUnits WORDS
set_interface_property cfg readLatency 1
set_interface_property cfg maximumPendingReadTransactions 0
add_interface_port cfg cfg_address address Input 5
add_interface_port cfg cfg_read read Input 1
add_interface_port cfg cfg_write write Input 1
add_interface_port cfg cfg_writedata writedata Input 32
add_interface_port cfg cfg_readdata readdata Output 32

add_interface rx avalon_streaming end
set_interface_property rx associatedClock mac_clk
set_interface_property rx associatedReset reset
set_interface_property rx dataBitsPerSymbol 8
set_interface_property rx symbolsPerBeat 8
set_interface_property rx firstSymbolInHighOrderBits true
set_interface_property rx readyLatency 0
add_interface_port rx avalon_st_rx_valid valid Input 1
add_interface_port rx avalon_st_rx_startofpacket startofpacket Input 1
add_interface_port rx avalon_st_rx_endofpacket endofpacket Input 1
add_interface_port rx avalon_st_rx_empty empty Input 3
add_interface_port rx avalon_st_rx_error error Input 6
add_interface_port rx avalon_st_rx_data data Input 64
add_interface_port rx avalon_st_rx_ready ready Output 1

add_interface tx avalon_streaming start
set_interface_property tx associatedClock mac_clk
set_interface_property tx associatedReset reset
set_interface_property tx dataBitsPerSymbol 8
set_interface_property tx symbolsPerBeat 8
set_interface_property tx firstSymbolInHighOrderBits true
set_interface_property tx readyLatency 0
add_interface_port tx avalon_st_tx_valid valid Output 1
add_interface_port tx avalon_st_tx_startofpacket startofpacket Output 1
add_interface_port tx avalon_st_tx_endofpacket endofpacket Output 1
add_interface_port tx avalon_st_tx_empty empty Output 3
add_interface_port tx avalon_st_tx_error error Output 1
add_interface_port tx avalon_st_tx_data data Output 64
add_interface_port tx avalon_st_tx_ready ready Input 1

add_interface pause avalon_streaming start
set_interface_property pause associatedClock mac_clk
set_interface_property pause associatedReset reset
set_interface_property pause dataBitsPerSymbol 2
add_interface_port pause avalon_st_pause_data data Output 2

add_interface emif avalon start
set_interface_property emif associatedClock emif_clk
set_interface_property emif associatedReset reset
set_interface_property emif addressUnits WORDS
set_interface_property emif burstcountUnits WORDS
set_interface_property emif maximumPendingReadTransactions 64
add_interface_port emif amm_read read Output 1
add_interface_port emif amm_write write Output 1
add_interface_port emif amm_address address Output 28
add_interface_port emif amm_burstcount burstcount Output 7
add_interface_port emif amm_writedata writedata Output 512
add_interface_port emif amm_byteenable byteenable Output 64
add_interface_port emif amm_ready waitrequest_n Input 1
add_interface_port emif amm_readdata readdata Input 512
add_interface_port emif amm_readdatavalid readdatavalid Input 1

add_interface kernel_mem avalon end
set_interface_property kernel_mem associatedClock emif_clk
set_interface_property kernel_mem associatedReset reset
set_interface_property kernel_mem addressUnits SYMBOLS
set_interface_property kernel_mem burstcountUnits WORDS
set_interface_property kernel_mem maximumPendingReadTransactions 64
add_interface_port kernel_mem kernel_mem_read read Input 1
add_interface_port kernel_mem kernel_mem_write write Input 1
add_interface_port kernel_mem kernel_mem_address address Input 34
add_interface_port kernel_mem kernel_mem_burstcount burstcount Input 5
add_interface_port kernel_mem kernel_mem_writedata writedata Input 512
add_interface_port kernel_mem kernel_mem_byteenable byteenable Input 64
add_interface_port kernel_mem kernel_mem_waitrequest waitrequest Output 1
add_interface_port kernel_mem kernel_mem_readdata readdata Output 512
add_interface_port kernel_mem kernel_mem_readdatavalid readdatavalid Output 1

add_interface kernel_cra avalon start
set_interface_property kernel_cra associatedClock kernel_clk
set_interface_property kernel_cra associatedReset reset
set_interface_property kernel_cra addressUnits SYMBOLS
set_interface_property kernel_cra maximumPendingReadTransactions 1
add_interface_port kernel_cra kernel_cra_address address Output 16
add_interface_port kernel_cra kernel_cra_read read Output 1
add_interface_port kernel_cra kernel_cra_write write Output 1
add_interface_port kernel_cra kernel_cra_writedata writedata Output 64
add_interface_port kernel_cra kernel_cra_byteenable byteenable Output 8
add_interface_port kernel_cra kernel_cra_waitrequest waitrequest Input 1
add_interface_port kernel_cra kernel_cra_readdata readdata Input 64
add_interface_port kernel_cra kernel_cra_readdatavalid readdatavalid Input 1

add_interface kernel_irq interrupt start
set_interface_property kernel_irq associatedClock kernel_clk
set_interface_property kernel_irq associatedReset reset
add_interface_port kernel_irq kernel_irq irq Input 1

add_interface kernel_reset reset start
set_interface_property kernel_reset associatedClock kernel_clk
set_interface_property kernel_reset synchronousEdges DEASSERT
add_interface_port kernel_reset kernel_reset_n reset_n Output 1

add_interface link conduit end
add_interface_port link mac_link_up link_up Input 1
add_interface_port link rx_overflow overflow Output 1

add_interface emif_status conduit end
add_interface_port emif_status emif_cal_success local_cal_success Input 1

add_interface pr conduit end
add_interface_port pr pr_nreset nreset Output 1
add_interface_port pr pr_start pr_start Output 1
add_interface_port pr pr_data data Output 32
add_interface_port pr pr_data_valid data_valid Output 1
add_interface_port pr pr_data_ready data_ready Input 1
add_interface_port pr pr_status status Input 3
add_interface_port pr pr_region_freeze freeze Output 1
add_interface_port pr pr_region_frozen frozen Input 1

add_interface pcie_pr conduit end
add_interface_port pcie_pr pcie_pr_active active Input 1
add_interface_port pcie_pr pcie_pr_start pr_start Input 1
add_interface_port pcie_pr pcie_pr_valid data_valid Input 1
add_interface_port pcie_pr pcie_pr_data data Input 32
add_interface_port pcie_pr pcie_pr_ready data_ready Output 1
